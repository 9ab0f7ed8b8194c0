"""The fused engine on CPUs: all that needs LLVM."""
