# run: failed
# rules: 5
# kill
# off: skipped "when is false"
# slow: failed
# between: skipped "dependency slow failed"
# last: skipped "dependency between was skipped because of a failure"
# direct: skipped "dependency slow failed"
# free: succeeded
pipeline "run_if_failed" {
  on_failure = "continue"
  workspace {
    exclude = ["**"]
  }
  module "off" {
    when    = false
    command = ["true"]
  }
  module "slow" {
    command = ["sh", "-c", "sleep 0.3; false"]
  }
  // It depends on both: which ends first changes nothing.
  module "between" {
    depends_on = [module.off, module.slow]
    command    = ["true"]
  }
  module "last" {
    depends_on = [module.between]
    run_if     = "not_failed"
    command    = ["true"]
  }
  module "direct" {
    depends_on = [module.off, module.slow]
    run_if     = "not_failed"
    command    = ["true"]
  }
  module "free" {
    depends_on = [module.off]
    run_if     = "not_failed"
    command    = ["true"]
  }
}
