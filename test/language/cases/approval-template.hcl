# run: succeeded
# rules: 5 approval
# list: succeeded
# gate[0]: succeeded "yes"
# approve gate[0]: yes
# gate[1]: succeeded "yes"
# approve gate[1]: yes
# ship: succeeded
pipeline "approval-template" {
  template "ask" {
    approval {
      message = "Go on?"
      timeout = "1h"
    }
  }
  module "list" {
    script = "echo '{\"to\": [\"a\", \"b\"]}' > $PIPELINED_OUTPUT"
  }
  module "gate" {
    use      = template.ask
    for_each = module.list.result.to
  }
  module "ship" {
    depends_on = [module.gate]
    command    = ["true"]
  }
}
