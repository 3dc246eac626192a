// Package deploy checks what deploys the product: action.yml and the workflows of
// examples/github-actions, step by step as a runner of GitHub executes them, on real agents.
// It is a Go module of its own, so that what checks the files is in no go.mod of the product.
// Run it with make deploy-test.
package deploy
