# run: succeeded_with_warnings
# rules: s25
# flags: -target a
# a: failed
# hooks[on_success]: succeeded
# log hooks[on_success]: good succeeded_with_warnings
pipeline "hooks_pipeline_warnings" {
  workspace {
    exclude = ["**"]
  }
  hooks {
    on_success = "echo good $PIPELINED_STATUS"
  }
  module "a" {
    ignore_failure = true
    command        = ["false"]
  }
  module "b" {
    command = ["true"]
  }
}
