/* SPDX-License-Identifier: MIT */
/*
 * Planted bugs: what the tests must notice.
 *
 * A suite that says nothing is lost is worth as much as the bugs it would find. So
 * each of the mistakes that this library was written to avoid is here as well, behind
 * a name, one line each where it would be made. In the library they do not exist:
 * the condition is the constant 0. Only a build with -DSDE_PLANTED (`make mutants`)
 * has them, and there the one that the environment's SDE_PLANTED names is made.
 *
 * tests/crash/mutants lists all of them, with the layer that must catch each.
 */
#ifndef SDE_LIB_PLANTED_H
#define SDE_LIB_PLANTED_H

#include <stdbool.h>

bool sde__planted(const char *name);

#ifndef SDE_PLANTED
#define sde__planted(name) 0
#endif

#endif
