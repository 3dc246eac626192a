// Package language turns the text of a pipeline into a pipeline.Pipeline:
// it decodes HCL, checks names, references and values, evaluates what is known
// at submission, and keeps the source of what is known only later. It does no
// disk or network I/O and reads no clock.
//
// The way of a pipeline through the package:
//
//	Parse    size and depth limits before any parse (reliability D3), then
//	         everything that can be wrong without knowing a variable's value
//	Compile  variables get their values, constants are evaluated, expressions
//	         that name results become Module.Deferred
//	Evaluate the deferred expressions of one module, when its dependencies are final
//
// HCL's evaluation cannot be interrupted, and a few dozen bytes can ask for
// minutes and gigabytes. So only literals, references, templates and lists and
// objects of them are evaluated in the process that asks, under a budget that
// is checked before the work (see evaluator.value); all else goes through an
// Evaluator, which runs RunHelper in a process with limits of its own (package
// bounded).
//
// A File is immutable: all its methods may be called from several goroutines.
package language
