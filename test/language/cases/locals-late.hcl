# run: succeeded
# rules: 3
# a: succeeded
# b: succeeded
# log b: n is 7
pipeline "locals_late" {
  workspace {
    exclude = ["**"]
  }
  locals {
    n = "n is ${module.a.result.n}"
  }
  module "a" {
    script = "echo n=7 >> $PIPELINED_OUTPUT"
  }
  module "b" {
    command = ["echo", local.n]
  }
}
