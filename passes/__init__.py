"""Graph -> Graph, same signature, same meaning."""
