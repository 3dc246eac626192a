# run: failed
# rules: 3 s23
# gen: succeeded
# w[0]: succeeded
# w[1]: failed
# c: skipped "dependency w[1] failed"
pipeline "for_each_result_fails" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "gen" {
    script = <<-S
      echo '{"l": [1, 2]}' > $PIPELINED_OUTPUT
    S
  }
  module "w" {
    for_each = module.gen.result.l
    script   = "test ${each.value} = 1"
  }
  module "c" {
    depends_on = [module.w]
    command    = ["true"]
  }
}
