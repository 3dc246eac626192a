# run: succeeded
# rules: 2 3 4 child
# kill
# first: succeeded
# inner: succeeded
# after: succeeded
# log after: hello 2 one [two]
pipeline "child" {
  variable "words" {
    type    = list(string)
    default = ["one", "[two]"]
  }
  module "first" {
    script = "echo '{\"word\": \"hello\", \"numbers\": [1, 2]}' >$PIPELINED_OUTPUT"
  }
  module "inner" {
    pipeline  = "lib/inner.hcl"
    variables = { word = module.first.result.word, numbers = module.first.result.numbers }
  }
  module "after" {
    command = ["echo", module.inner.result.say.word, module.inner.result["count[1]"].n, join(" ", var.words)]
  }
}
