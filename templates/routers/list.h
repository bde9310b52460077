// Every score and every rule of selection: one line here and the file that it names. Their order is that of their enumerators.
//
// A file has sections, of which a place that includes this list asks for one by a macro (there are no include guards, and the list
// undefines them all again):
//   ROW       SCORE_ROW(enumerator, symbol, facts...) or SELECTION_ROW(...), which the place defines; the symbol is also the name
//             in descriptions, the facts are initialisers of ScoreFacts or SelectionFacts (layer.h)
//   SKELETON  the vector form, specialised into libraries: score_SYMBOL (score.h), select_SYMBOL (select.h)
//   ORACLE    the double-precision form with its error bounds: oracle_score_SYMBOL (compiler/oracle/score.c), oracle_SYMBOL
//             (compiler/oracle/select.c). It sees nothing of the skeletons: a mistake in one form shows as a difference
//             A rule takes a head of the ranking: where it refuses a choice it refuses all that rank below
//   OPPONENT  what a user would write, for `catena bench`: opponent_score_SYMBOL, opponent_select_SYMBOL
//             (compiler/opponent/route.c)
//   TORCH     lines of a PyTorch module, of rules only: torch_select_SYMBOL (compiler/print/parts.c)
// clang-format off
#include "score_softmax.h"
#include "score_sigmoid.h"
#include "score_sqrtsoftplus.h"
#include "score_relu.h"

#include "select_top_k.h"
#include "select_threshold.h"
#include "select_top_p.h"
#include "select_sparsemixer.h"
// clang-format on

#undef SCORE_ROW
#undef SCORE_SKELETON
#undef SCORE_ORACLE
#undef SCORE_OPPONENT
#undef SELECTION_ROW
#undef SELECTION_SKELETON
#undef SELECTION_ORACLE
#undef SELECTION_OPPONENT
#undef SELECTION_TORCH
