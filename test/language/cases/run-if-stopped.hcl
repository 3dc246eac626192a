# run: failed
# rules: 5
# off: skipped "when is false"
# broken: failed
# wait: succeeded
# next: skipped "not started because broken failed"
pipeline "run_if_stopped" {
  workspace {
    exclude = ["**"]
  }
  module "off" {
    when    = false
    command = ["true"]
  }
  module "broken" {
    command = ["false"]
  }
  // It ends after the failure, which nothing of these depends on.
  module "wait" {
    command = ["sleep", "1"]
  }
  module "next" {
    depends_on = [module.off, module.wait]
    run_if     = "not_failed"
    command    = ["true"]
  }
}
