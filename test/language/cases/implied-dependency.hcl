# run: succeeded
# rules: 2
# kill
# a: succeeded
# b: succeeded
# log b: got 7
pipeline "implied_dependency" {
  workspace {
    exclude = ["**"]
  }
  module "b" {
    command = ["echo", "got", module.a.result.n]
  }
  module "a" {
    script = "echo n=7 >> $PIPELINED_OUTPUT"
  }
}
