# run: failed
# rules: 5 s25
# kill
# bad: failed "exit code 2"
# warning: failed
# ready: succeeded
# long: cancelled "cancelled because bad failed"
# after: skipped "bad failed"
# watch: succeeded
# log watch: watched
# tidy: succeeded
# log tidy: long is cancelled
# hooks[after]: succeeded
# log hooks[after]: failed
pipeline "failure_cancels" {
  on_failure = "cancel"
  workspace {
    exclude = ["**"]
  }
  hooks {
    after = "echo $PIPELINED_STATUS"
  }
  module "warning" {
    ignore_failure = true
    command        = ["false"]
  }
  module "bad" {
    depends_on = [module.ready]
    script     = "sleep 0.5; exit 2"
  }
  // ready lets long start before bad fails.
  module "ready" {
    command = ["true"]
  }
  module "long" {
    depends_on = [module.ready]
    command    = ["sleep", "3600"]
  }
  module "after" {
    depends_on = [module.long]
    command    = ["true"]
  }
  module "watch" {
    always_run = true
    script     = "sleep 1; echo watched"
  }
  module "tidy" {
    always_run = true
    command    = ["echo", "long is ${module.long.status}"]
  }
}
