// Package language holds the conformance suite of the pipeline language: a file
// in cases/ for each rule's example, with what must become of every module. Each
// is run by `run` and on a cluster of three nodes, where the outcomes must be
// the same; those that ask for it also while leaders are killed.
//
// What is expected stands in comments:
//
//	# run: failed                     the state of the run, or "invalid"
//	# rules: 5 s23                    the rules that it is an example of
//	# error: part of a message        what is said of an invalid one
//	# flags: -target a                flags of run and submit
//	# retry: -var x=2                 flags of a retry, with which a new run is made
//	# first run: failed               the state of the run that is retried
//	# kill                            is run while leaders are killed too
//	# engine                          needs a container engine
//	# NAME: skipped "part of reason"  the state of a module, and its reason
//	# approve NAME: comment           is approved as soon as it waits for that
//	# reject NAME: reason             or rejected
//	# attempts NAME: 2                how many attempts it had
//	# log NAME: text                  a line of its output
//
// Every module of the run is named once; a file that names none is wrong.
// Rules are numbered as in the design of the language: 1 a command or a script,
// 2 dependencies, 3 expressions, 4 results, 5 outcomes, 6 the two budgets of
// retries, 7 what a module sees, 8 the cache, 9 selection, 10 mistakes; and s21
// scripts, s22 forms of results, s23 instances, s24 outputs, s25 hooks and
// on_failure, s26 caches, s27 expensive expressions, s28 what follows from an
// outcome in the same entry, s29 the order of things; approval the wait for a
// person, runs schedules and concurrency groups, imports files that a pipeline imports,
// child pipelines that modules run,
// container modules with an image, notify blocks of that name, retry runs that are
// retried with other values.
package language
