#include "agent/slot_state.h"

#define SLOT_ROW(id, name, next) [id] = {name, next},
static const struct {
        const char *name;
        unsigned next;
} table[] = {SLOT_STATES(SLOT_ROW)};

const char *slot_state_name(enum slot_state state) {
        return table[state].name;
}

bool slot_may_move(enum slot_state from, enum slot_state to) {
        return table[from].next >> to & 1;
}
