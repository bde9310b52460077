// Every format of packed weights: one line here and the file that it names. Their order is that of their enumerators.
//
// A file has sections, of which a place that includes this list asks for one by a macro (there are no include guards, and the list
// undefines them all again):
//   FORMAT_ROW    FORMAT_ROW(enumerator, symbol, facts...), which the place defines; the symbol is also the name in descriptions,
//                 the facts are initialisers of FormatFacts (layer.h)
//   FORMAT_CODEC  plain C (formats.h declares what it may use), compiled natively and into the runtime, not into skeletons:
//     double format_SYMBOL_value(const uint8_t *panel, int64_t k, int column)
//         the exact value of an element
//     void format_SYMBOL_pack(uint8_t *panel, const FormatRun *run)
//         packs values: rounds to nearest, ties to even, and derives what groups carry from the values. A format whose row
//         says .takes takes over the codes and scales of a run that has them, bit for bit
//     void format_SYMBOL_random(uint8_t *panel, const FormatRandom *random)
//         one step of a benchmark's random weights
// How an instruction path reads a format is said by the path (targets/path_*.c).
// clang-format off
#include "fp32.h"
#include "bf16.h"
#include "fp16.h"
#include "fp8_e4m3.h"
// clang-format on

#undef FORMAT_ROW
#undef FORMAT_CODEC
