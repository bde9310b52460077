// Names that a library cannot have: its header would not compile, or its functions would replace others.
#ifndef CATENA_NAME_H
#define CATENA_NAME_H

// Why a library cannot have a name that is an identifier of C: the end of a sentence that begins with the name. NULL: it can. Names
// of the C library's functions are asked of the one that this process uses. Safe from any thread.
const char *name_problem(const char *name);

#endif
