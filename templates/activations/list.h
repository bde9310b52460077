// Every activation of experts: one line here and the file that it names. Their order is that of their enumerators.
//
// A file has sections, of which a place that includes this list asks for one by a macro (there are no include guards, and the list
// undefines them all again):
//   ROW       ACTIVATION_ROW(enumerator, symbol, facts...), which the place defines; the symbol is also the name in descriptions,
//             the facts are initialisers of ActivationFacts (layer.h)
//   SKELETON  the vector form, specialised into libraries: activation_SYMBOL (activation.h)
//   ORACLE    the double-precision form: oracle_activation_SYMBOL (compiler/oracle/expert.c). It sees nothing of the skeletons: a
//             mistake in one form shows as a difference
//   OPPONENT  what a user would write, for `catena bench`: opponent_activation_SYMBOL (compiler/opponent/opponent.c)
// clang-format off
#include "silu.h"
#include "gelu.h"
#include "gelu_tanh.h"
#include "relu.h"
#include "relu2.h"
// clang-format on

#undef ACTIVATION_ROW
#undef ACTIVATION_SKELETON
#undef ACTIVATION_ORACLE
#undef ACTIVATION_OPPONENT
