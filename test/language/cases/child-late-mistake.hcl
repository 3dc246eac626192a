# run: failed
# rules: 10 child
# first: succeeded
# inner: failed "variable "numbers": at most three numbers"
pipeline "child-late-mistake" {
  module "first" {
    script = "echo '{\"numbers\": [1, 2, 3, 4]}' >$PIPELINED_OUTPUT"
  }
  module "inner" {
    pipeline  = "lib/inner.hcl"
    variables = { word = "x", numbers = module.first.result.numbers }
  }
}
