# run: failed
# rules: s25
# a: failed
# b: skipped "a failed"
# hooks[on_success]: skipped "has not succeeded"
# hooks[on_failure]: succeeded
# hooks[after]: succeeded
# log hooks[on_failure]: bad failed
# log hooks[after]: last failed
pipeline "hooks_pipeline_failed" {
  workspace {
    exclude = ["**"]
  }
  hooks {
    on_success = "echo never"
    on_failure = "echo bad $PIPELINED_STATUS"
    after      = "echo last $PIPELINED_STATUS"
  }
  module "a" {
    command = ["false"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
}
