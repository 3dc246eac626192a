# run: failed
# rules: 5 6 child
# kill
# fails: failed "failed: bad failed: exit code 3"
# ignored: failed "failed: bad failed: exit code 3"
# dependent: skipped "dependency fails failed"
# always: succeeded
# after: succeeded
# log after: failed
pipeline "child-fails" {
  on_failure = "continue"
  module "fails" {
    pipeline = "lib/fails.hcl"
    retry {
      attempts = 2
      backoff  = "10ms"
    }
  }
  module "ignored" {
    pipeline       = "lib/fails.hcl"
    ignore_failure = true
  }
  module "dependent" {
    pipeline   = "lib/inner.hcl"
    variables  = { word = "x" }
    depends_on = [module.fails]
  }
  module "always" {
    pipeline   = "lib/inner.hcl"
    variables  = { word = "x" }
    depends_on = [module.fails]
    always_run = true
  }
  module "after" {
    command    = ["echo", module.fails.status]
    always_run = true
  }
}
