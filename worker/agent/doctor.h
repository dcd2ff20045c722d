/* `sweep-worker doctor`: what a worker with these options would find, before it serves. */
#pragma once
#include "agent/agent.h"

/* fault: why model or trainer could not be found; code 0 = they were. Prints what it finds; the exit status. */
int agent_doctor(const struct agent_options *options, const struct error *fault, bool as_json);
