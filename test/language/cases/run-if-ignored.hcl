# run: succeeded_with_warnings
# rules: 5
# kill
# lint: failed "exit code 7"
# report: succeeded
# log report: failed 7
# strict: skipped "dependency lint failed"
# after_strict: skipped "dependency strict was skipped because of a failure"
# chain: succeeded
pipeline "run_if_ignored" {
  workspace {
    exclude = ["**"]
  }
  template "tolerant" {
    run_if = "not_failed"
  }
  module "lint" {
    ignore_failure = true
    command        = ["sh", "-c", "exit 7"]
  }
  module "report" {
    use     = template.tolerant
    command = ["echo", module.lint.status, module.lint.exit_code]
  }
  module "strict" {
    depends_on = [module.lint]
    command    = ["true"]
  }
  module "after_strict" {
    depends_on = [module.strict]
    run_if     = "not_failed"
    command    = ["true"]
  }
  module "chain" {
    depends_on = [module.report]
    use        = template.tolerant
    command    = ["true"]
  }
}
