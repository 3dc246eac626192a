# run: failed
# rules: 5 child
# kill
# sleeps: cancelled "cancelled because fails failed"
# fails: failed "exit code 1"
# skipped: skipped "when is false"
pipeline "child-stopped" {
  on_failure = "cancel"
  module "sleeps" {
    pipeline = "lib/sleeps.hcl"
  }
  module "fails" {
    script = "sleep 1; exit 1"
  }
  module "skipped" {
    pipeline = "lib/sleeps.hcl"
    when     = false
  }
}
