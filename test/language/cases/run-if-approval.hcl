# run: succeeded
# rules: 5 approval
# ask: skipped "not approved within"
# gate: succeeded
# approve gate: fine
# deploy: succeeded
pipeline "run_if_approval" {
  workspace {
    exclude = ["**"]
  }
  module "ask" {
    approval {
      message    = "Also the slow tests?"
      timeout    = "100ms"
      on_timeout = "skip"
    }
  }
  module "gate" {
    depends_on = [module.ask]
    run_if     = "not_failed"
    approval {
      message = "Deploy?"
    }
  }
  module "deploy" {
    depends_on = [module.gate]
    command    = ["true"]
  }
}
