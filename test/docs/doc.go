// Package docs checks that what users read is true: the pipelines in examples
// and pages compile, the commands exist with their flags, the blocks that are
// marked `sh run` run, and the tables agree with the code that they describe.
package docs
