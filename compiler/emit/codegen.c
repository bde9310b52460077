// LLVM's side of an emission: contexts, target machines, optimisation, objects.
#include <llvm-c/Analysis.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emit.h"

static void initialize_llvm(void) {
    static bool done;
    if (done) {
        return;
    }
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();  // of inline assembly
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeAArch64AsmParser();
    done = true;
}

static void emission_types(Emission *e) {
    e->builder = LLVMCreateBuilderInContext(e->context);
    e->f32 = LLVMFloatTypeInContext(e->context);
    e->i32 = LLVMInt32TypeInContext(e->context);
    e->i64 = LLVMInt64TypeInContext(e->context);
    e->pointer = LLVMPointerTypeInContext(e->context, 0);
    e->vector = LLVMVectorType(e->f32, (unsigned)e->target->lanes);
    e->integers = LLVMVectorType(e->i32, (unsigned)e->target->lanes);
}

Emission emission_begin(const Target *target, const char *module_name) {
    initialize_llvm();
    Emission e = {.context = LLVMContextCreate(), .target = target};
    e.module = LLVMModuleCreateWithNameInContext(module_name, e.context);
    emission_types(&e);
    return e;
}

// LLVM's own way with an error is to print it and exit.
static void report(LLVMDiagnosticInfoRef info, void *diagnostics) {
    if (LLVMGetDiagInfoSeverity(info) == LLVMDSError) {
        char *text = LLVMGetDiagInfoDescription(info);
        diagnostics_add(diagnostics, NULL, 0, 0, "LLVM: %s", text);
        LLVMDisposeMessage(text);
    }
}

Emission emission_begin_bitcode(const Target *target, const char *begin, const char *end, Diagnostics *diagnostics) {
    initialize_llvm();
    Emission e = {.context = LLVMContextCreate(), .target = target};
    LLVMContextSetDiagnosticHandler(e.context, report, diagnostics);
    LLVMMemoryBufferRef bitcode = LLVMCreateMemoryBufferWithMemoryRange(begin, (size_t)(end - begin), "skeleton", true);
    if (LLVMParseBitcodeInContext2(e.context, bitcode, &e.module)) {
        diagnostics_add(diagnostics, NULL, 0, 0,
                        "the embedded skeleton cannot be read by this LLVM: was it built with a newer clang?");
        e.module = NULL;
        LLVMDisposeMemoryBuffer(bitcode);
        LLVMContextDispose(e.context);
        return e;
    }
    LLVMDisposeMemoryBuffer(bitcode);
    emission_types(&e);
    return e;
}

static void set_attribute(Emission *e, LLVMValueRef function, const char *key, const char *value) {
    LLVMAttributeRef attribute = LLVMCreateStringAttribute(e->context, key, (unsigned)strlen(key), value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, attribute);
}

// Every function gets this target's features in place of those that clang wrote into the skeleton.
static void set_features(Emission *e, const char *features) {
    static const char *const stale[] = {"target-cpu", "target-features", "tune-cpu"};
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f; f = LLVMGetNextFunction(f)) {
        for (size_t i = 0; i < sizeof stale / sizeof *stale; i++) {
            LLVMRemoveStringAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, stale[i],
                                             (unsigned)strlen(stale[i]));
        }
        if (LLVMIsDeclaration(f)) {
            continue;
        }
        set_attribute(e, f, "target-features", features);
        if (e->target->vector_width) {
            set_attribute(e, f, "prefer-vector-width", e->target->vector_width);
        }
    }
}

static LLVMTargetMachineRef create_machine(const Target *target, const char *features, Diagnostics *diagnostics) {
    LLVMTargetRef llvm_target;
    char *error = NULL;
    if (LLVMGetTargetFromTriple(target->triple, &llvm_target, &error)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "this LLVM cannot generate code for %s: %s", target->triple, error);
        LLVMDisposeMessage(error);
        return NULL;
    }
    return LLVMCreateTargetMachine(llvm_target, target->triple, "generic", features, LLVMCodeGenLevelAggressive, LLVMRelocPIC,
                                   LLVMCodeModelDefault);
}

static void write_texts(Emission *e, LLVMTargetMachineRef machine, const char *part, const EmitTexts *texts,
                        Diagnostics *diagnostics) {
    char path[4096], *error = NULL;
    if (texts && texts->ir) {
        snprintf(path, sizeof path, "%s.%s.ll", texts->prefix, part);
        if (LLVMPrintModuleToFile(e->module, path, &error)) {
            diagnostics_add(diagnostics, path, 0, 0, "cannot write: %s", error);
            LLVMDisposeMessage(error);
        }
    }
    if (texts && texts->assembly) {
        snprintf(path, sizeof path, "%s.%s.s", texts->prefix, part);
        LLVMModuleRef copy = LLVMCloneModule(e->module);  // code generation changes the module
        if (LLVMTargetMachineEmitToFile(machine, copy, path, LLVMAssemblyFile, &error)) {
            diagnostics_add(diagnostics, path, 0, 0, "cannot write: %s", error);
            LLVMDisposeMessage(error);
        }
        LLVMDisposeModule(copy);
    }
}

static bool run_passes(Emission *e, LLVMTargetMachineRef machine, Diagnostics *diagnostics) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(e->module, "default<O3>", machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (error) {
        char *message = LLVMGetErrorMessage(error);
        diagnostics_add(diagnostics, NULL, 0, 0, "LLVM's optimiser: %s", message);
        LLVMDisposeErrorMessage(message);
    }
    return !error;
}

static Object generate(Emission *e, LLVMTargetMachineRef machine, bool optimize, const char *part, const EmitTexts *texts,
                       Diagnostics *diagnostics) {
    char *error = NULL;
    if (LLVMVerifyModule(e->module, LLVMReturnStatusAction, &error)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "internal: emitted module '%s' is invalid: %s", part, error);
        LLVMDisposeMessage(error);
        return NULL;
    }
    LLVMDisposeMessage(error);
    if (optimize && !run_passes(e, machine, diagnostics)) {
        return NULL;
    }
    write_texts(e, machine, part, texts, diagnostics);
    Object object = NULL;
    size_t problems = diagnostics->count;
    if (LLVMTargetMachineEmitToMemoryBuffer(machine, e->module, LLVMObjectFile, &error, &object)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "LLVM's code generator: %s", error);
        LLVMDisposeMessage(error);
        return NULL;
    }
    if (diagnostics->count > problems) {  // what the handler reports LLVM does not count as a failure
        LLVMDisposeMemoryBuffer(object);
        return NULL;
    }
    return object;
}

Object emission_finish(Emission *e, const char *extra_features, bool optimize, const char *part, const EmitTexts *texts,
                       Diagnostics *diagnostics) {
    char features[512];
    Object object = NULL;
    LLVMContextSetDiagnosticHandler(e->context, report, diagnostics);
    snprintf(features, sizeof features, "%s%s%s", e->target->features, *extra_features ? "," : "", extra_features);
    LLVMTargetMachineRef machine = create_machine(e->target, features, diagnostics);
    if (machine) {
        LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
        LLVMSetModuleDataLayout(e->module, layout);
        LLVMSetTarget(e->module, e->target->triple);
        LLVMDisposeTargetData(layout);
        set_features(e, features);
        object = generate(e, machine, optimize, part, texts, diagnostics);
        LLVMDisposeTargetMachine(machine);
    }
    LLVMDisposeBuilder(e->builder);
    LLVMDisposeModule(e->module);
    LLVMContextDispose(e->context);
    return object;
}
