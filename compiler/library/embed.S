// Files that the compiler carries: skeletons as LLVM bitcode and the runtime for each architecture.
        .macro  embed symbol, file
        .global \symbol\()_begin, \symbol\()_end
        .balign 16
\symbol\()_begin:
        .incbin "\file"
\symbol\()_end:
        .byte   0
        .endm

        .section .rodata
        embed   embedded_layer, "bitcode/templates/forward.bc"
        embed   embedded_entry, "bitcode/runtime/entry.bc"
        embed   embedded_runtime_x86_64, "runtime-x86_64.o"
        embed   embedded_runtime_aarch64, "runtime-aarch64.o"
        .section .note.GNU-stack, "", @progbits
