"""From LLVM's relocatable object file to an ELF shared object, without the system's linker."""
