# run: failed
# rules: s25
# requirement[a shell]: succeeded
# hooks[before]: failed
# each[0]: skipped "hooks[before] failed"
# each[1]: skipped "hooks[before] failed"
# hooks[after]: succeeded
# log hooks[after]: last failed
pipeline "hooks_pipeline_before_fails" {
  workspace {
    exclude = ["**"]
  }
  requirement "a shell" {
    command = ["sh", "-c", "true"]
  }
  hooks {
    before = "exit 1"
    after  = "echo last $PIPELINED_STATUS"
  }
  module "each" {
    for_each = ["x", "y"]
    command  = ["true"]
  }
}
