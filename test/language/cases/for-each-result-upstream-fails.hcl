# run: failed
# rules: 3 s23
# gen: failed
# w: skipped "dependency gen failed"
pipeline "for_each_result_upstream_fails" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "gen" {
    command = ["false"]
  }
  module "w" {
    for_each = module.gen.result.l
    command  = ["true"]
  }
}
