"""The core: dimensions, types, interned nodes, graphs; knows nothing of the language's syntax."""
