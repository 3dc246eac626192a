# run: failed
# rules: child
# kill
# long: succeeded
# short: failed "failed: the run exceeded its timeout of 1s"
pipeline "child-own-timeout" {
  module "long" {
    pipeline  = "lib/inner.hcl"
    variables = { word = "x" }
    timeout   = "10m"
  }
  module "short" {
    depends_on = [module.long]
    pipeline   = "lib/sleeps.hcl"
    timeout    = "1s"
  }
}
