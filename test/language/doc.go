// Package language holds the conformance suite of the pipeline language: a file
// in cases/ for each rule's example, with what must become of every module. Each
// is run by `run` and on a cluster of three nodes, where the outcomes must be
// the same; those that ask for it also while leaders are killed.
//
// What is expected stands in comments:
//
//	# run: failed                     the state of the run
//	# flags: -target a                flags of run and submit
//	# kill                            is run while leaders are killed too
//	# NAME: skipped "part of reason"  the state of a module, and its reason
//	# approve NAME: comment          is approved as soon as it waits for that
//	# reject NAME: reason            or rejected
//	# attempts NAME: 2                how many attempts it had
//	# log NAME: text                  a line of its output
//
// Every module of the run is named once; a file that names none is wrong.
package language
