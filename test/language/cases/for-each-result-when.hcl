# run: succeeded
# rules: 3 s23
# gen: succeeded
# w[0]: skipped "when is false"
# w[1]: succeeded
pipeline "for_each_result_when" {
  workspace {
    exclude = ["**"]
  }
  module "gen" {
    script = <<-S
      echo '{"l": [1, 2]}' > $PIPELINED_OUTPUT
    S
  }
  module "w" {
    for_each = module.gen.result.l
    when     = each.value > 1
    command  = ["true"]
  }
}
