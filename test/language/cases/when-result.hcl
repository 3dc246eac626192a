# run: succeeded
# rules: 5
# kill
# a: succeeded
# b: succeeded
# c: skipped "when is false"
pipeline "when_result" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "echo go=yes >> $PIPELINED_OUTPUT"
  }
  module "b" {
    when    = module.a.result.go == "yes"
    command = ["true"]
  }
  module "c" {
    when    = module.a.result.go != "yes"
    command = ["true"]
  }
}
