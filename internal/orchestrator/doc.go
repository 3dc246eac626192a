// Package orchestrator is the leader's duty: rebuild a model of the live runs
// from the replicated state, plan, commit, dispatch, observe, and mend the
// difference between what should run and what workers say is running.
//
// One goroutine (the loop of a term) owns the model; everything else posts
// functions to it. The model runs ahead of the state by what is proposed and
// not yet committed; where the state machine refuses something, the run is
// read anew. Nothing lives only here: the next term rebuilds it all.
package orchestrator
