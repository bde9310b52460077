// A thin layer over LLVM's ORC JIT that takes finished objects only: what is measured is what ships.
#include "jit.h"

#include <llvm-c/LLJIT.h>
#include <llvm-c/Target.h>
#include <stdlib.h>

struct Jit {
    LLVMOrcLLJITRef engine;
};

static bool failed(LLVMErrorRef error, Diagnostics *diagnostics) {
    if (!error) {
        return false;
    }
    char *message = LLVMGetErrorMessage(error);
    diagnostics_add(diagnostics, NULL, 0, 0, "LLVM's JIT: %s", message);
    LLVMDisposeErrorMessage(message);
    return true;
}

Jit *jit_load(Object object, Diagnostics *diagnostics) {
    Jit *jit = calloc(1, sizeof *jit);
    if (!jit || failed(LLVMOrcCreateLLJIT(&jit->engine, NULL), diagnostics)) {
        LLVMDisposeMemoryBuffer(object);
        free(jit);
        return NULL;
    }
    LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(jit->engine);
    LLVMOrcDefinitionGeneratorRef process;
    if (failed(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, 0, NULL, NULL), diagnostics)) {
        LLVMDisposeMemoryBuffer(object);
        jit_free(jit);
        return NULL;
    }
    LLVMOrcJITDylibAddGenerator(library, process);
    if (jit_add(jit, object, diagnostics)) {
        jit_free(jit);
        return NULL;
    }
    return jit;
}

int jit_add(Jit *jit, Object object, Diagnostics *diagnostics) {
    LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(jit->engine);
    return failed(LLVMOrcLLJITAddObjectFile(jit->engine, library, object), diagnostics) ? -1 : 0;
}

int jit_define(Jit *jit, const char *name, const void *address, Diagnostics *diagnostics) {
    LLVMOrcCSymbolMapPair pair = {
        LLVMOrcLLJITMangleAndIntern(jit->engine, name),
        {(LLVMOrcExecutorAddress)(uintptr_t)address, {LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable, 0}}};
    LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(jit->engine);
    return failed(LLVMOrcJITDylibDefine(library, LLVMOrcAbsoluteSymbols(&pair, 1)), diagnostics) ? -1 : 0;
}

void *jit_function(Jit *jit, const char *name) {
    LLVMOrcExecutorAddress address = 0;
    LLVMErrorRef error = LLVMOrcLLJITLookup(jit->engine, &address, name);
    if (error) {
        LLVMConsumeError(error);
        return NULL;
    }
    return (void *)(uintptr_t)address;
}

void jit_free(Jit *jit) {
    if (jit) {
        LLVMConsumeError(LLVMOrcDisposeLLJIT(jit->engine));
        free(jit);
    }
}
