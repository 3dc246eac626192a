# run: failed
# rules: s25
# before: failed "before"
# later: failed "after"
# dependent: skipped "later failed"
pipeline "hooks_module_fail" {
  on_failure = "continue"
  workspace {
    exclude = ["**"]
  }
  module "before" {
    command = ["echo", "never"]
    hooks {
      before = "exit 4"
    }
  }
  module "later" {
    command = ["true"]
    hooks {
      after = "exit 5"
    }
  }
  module "dependent" {
    depends_on = [module.later]
    command    = ["true"]
  }
}
