// Every knob, a row each, in the order in which spaces list them. A place that includes this list defines KNOB(enumerator,
// facts...); the list undefines it again. There is no include guard.
//
// The facts are initialisers of Knob (knobs.h), which says what they mean. A knob of a plain field with a list of values is its row
// and nothing else; values that depend on layer, target or machine, and rules of its own, are functions of knobs.c.
KNOB(KNOB_TILE, "tile", ROLE_FIELD(max_rows), .columns = ROLE_FIELD(tile_columns), .reach = SPACE_ALL, .add = add_tiles,
     .shape = true, .tiles = SPACE_TALL_TILE, .words = "rows x columns of the tallest tile")
KNOB(KNOB_UNROLL, "unroll", ROLE_FIELD(unroll), .reach = SPACE_ALL, VALUES(1, 2, 4, 8), .shape = true, .tiles = SPACE_EVERY_TILE,
     .words = "multiply-add steps per round of a tile's loop")
KNOB(KNOB_PREFETCH, "prefetch", ROLE_FIELD(prefetch), .reach = SPACE_LOW, VALUES(0, 512, 1024, 2048, 3072, 4096, 8192),
     .tiles = SPACE_WIDE_TILES, .words = "bytes ahead of their reads at which low tiles prefetch weights; 0: they do not prefetch")
KNOB(KNOB_FAR, "prefetch_far", ROLE_FIELD(prefetch_far), .reach = SPACE_LOW, VALUES(0, 4096, 8192, 16384),
     .tiles = SPACE_WIDE_TILES, .other = KNOB_PREFETCH, .misfit = far_misfit,
     .words = "bytes ahead at which low tiles prefetch a second time, into the second-level cache; 0: only once")
KNOB(KNOB_HINT, "prefetch_hint", ROLE_FIELD(prefetch_hint), .reach = SPACE_LOW, VALUES(0, 2, 3), .tiles = SPACE_WIDE_TILES,
     .other = KNOB_PREFETCH, .misfit = hint_misfit,
     .words = "cache that low tiles prefetch into: 3 first level, 2 second level, 0 as data that is read once")
KNOB(KNOB_AHEAD, "ahead_hint", ROLE_FIELD(ahead_hint), .reach = SPACE_ALL, VALUES(-1, 0, 2, 3),
     .tiles = SPACE_TALL_TILE | SPACE_LOW_TILES,
     .words = "cache that tall tiles prefetch the next panel into: as prefetch_hint; -1: they do not prefetch")
KNOB(KNOB_K_BLOCKS, "k_blocks", ROLE_FIELD(k_blocks), .reach = SPACE_ALL, .add = add_k_blocks, .shape = true,
     .shared_value = shared_k_blocks, .words = "equal blocks of k, which tall tiles take one after the other; 1: all of k at once")
KNOB(KNOB_WIDE, "wide_rows", ROLE_FIELD(wide_rows), .reach = SPACE_LOW, .add = add_wide_rows, .other = KNOB_TILE,
     .misfit = wide_misfit, .words = "most rows of a tile that takes two panels at once")
KNOB(KNOB_WIDEN, "widen_tiles", ROLE_FIELD(widen_tiles), .reach = SPACE_TALL, .add = add_widen_tiles,
     .shared_value = shared_widen_tiles,
     .words = "fewest tiles on a panel for which it is decoded to fp32 once for all; 0: it never is")
KNOB(KNOB_BLOCK, "block", PLAN_FIELD(block_rows), .reach = SPACE_TALL, VALUES(12, 25, 50, 75, 100), .get = block_percent,
     .set = set_block, .words = "percent of a core's second-level cache that a block of rows may take")
KNOB(KNOB_FEW, "few_tokens", PLAN_FIELD(few_tokens), .reach = SPACE_FEW, VALUES(1, 4, 8, 16, 32, 64, 128),
     .words = "most tokens of a call in which every thread selects experts for all tokens")
KNOB(KNOB_UP_TASKS, "up_tasks", PLAN_FIELD(up_tasks), .reach = SPACE_ALL, VALUES(1, 2, 4, 8, 16, 32),
     .words = "gate/up tasks per thread, in calls with more than few_tokens tokens")
KNOB(KNOB_DOWN_TASKS, "down_tasks", PLAN_FIELD(down_tasks), .reach = SPACE_ALL, VALUES(1, 2, 4, 8),
     .words = "down tasks per thread, in calls with more than few_tokens tokens")
KNOB(KNOB_FEW_UP, "few_up_tasks", PLAN_FIELD(few_up_tasks), .reach = SPACE_FEW, VALUES(1, 2, 4, 8, 16),
     .words = "gate/up tasks per thread, in calls with up to few_tokens tokens")
KNOB(KNOB_FEW_DOWN, "few_down_tasks", PLAN_FIELD(few_down_tasks), .reach = SPACE_FEW, VALUES(1, 2, 4, 8),
     .words = "down tasks per thread, in calls with up to few_tokens tokens")
KNOB(KNOB_FLOOR, "floor_rows", PLAN_FIELD(floor_rows), .reach = SPACE_LOW, VALUES(1, 2, 4, 8),
     .words = "fewest rows that an expert counts as when work is cut into tasks")
KNOB(KNOB_ORDER, "up_order", PLAN_FIELD(up_order), .reach = SPACE_ALL, .add = add_orders,
     .words = "order in which gate/up walks the experts: 0 forwards, 1 backwards, 2 in turns")
KNOB(KNOB_THREADS, "threads", PLAN_FIELD(threads), .reach = SPACE_ALL, .add = add_threads, .given = SPACE_GIVEN_THREADS,
     .words = "threads of a call; 0: one for each core that the process may use")
KNOB(KNOB_BIND, "bind", PLAN_FIELD(bind), .reach = SPACE_ALL, .add = add_bindings, .other = KNOB_THREADS, .misfit = bind_misfit,
     .words = "binding of threads to cores: 0 none, 1 cores that share caches, 2 the caches in turn")
KNOB(KNOB_PAGES, "huge_pages", PLAN_FIELD(huge_pages), .reach = SPACE_ALL, VALUES(0, 1), .given = SPACE_GIVEN_PAGES,
     .words = "1: huge pages for weights and workspace; 0: small pages")
#undef KNOB
