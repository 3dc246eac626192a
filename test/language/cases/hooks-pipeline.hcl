# run: succeeded
# rules: s25
# kill
# hooks[before]: succeeded
# a: succeeded
# b: succeeded
# hooks[on_success]: succeeded
# hooks[on_failure]: skipped "has not failed"
# hooks[after]: succeeded
# log hooks[before]: first running
# log hooks[on_success]: good succeeded
# log hooks[after]: last succeeded of hooks_pipeline
pipeline "hooks_pipeline" {
  env = { WHERE = pipeline.name }
  workspace {
    exclude = ["**"]
  }
  hooks {
    before     = "echo first $PIPELINED_STATUS"
    on_success = "echo good $PIPELINED_STATUS"
    on_failure = "echo never"
    after      = "echo last $PIPELINED_STATUS of $WHERE"
  }
  module "a" {
    script  = "echo a > out; sleep 1"
    outputs = ["out"]
  }
  module "b" {
    script  = "echo b > out; sleep 1"
    outputs = ["out"]
  }
}
