# run: succeeded
# rules: 3 s23
# kill
# gen: succeeded
# w[0]: succeeded
# w[1]: succeeded
# w[2]: succeeded
# c: succeeded
# log c: A+B+C
# log w[1]: 1 b
pipeline "for_each_result" {
  workspace {
    exclude = ["**"]
  }
  module "gen" {
    script = <<-S
      echo '{"l": ["a", "b", "c"]}' > $PIPELINED_OUTPUT
    S
  }
  module "w" {
    for_each = module.gen.result.l
    script   = "echo ${each.key} ${each.value}; echo v=${upper(each.value)} >> $PIPELINED_OUTPUT"
  }
  module "c" {
    command = ["echo", join("+", [for k, m in module.w : m.result.v])]
  }
}
