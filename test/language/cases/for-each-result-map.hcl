# run: succeeded
# rules: 3 s23
# kill
# gen: succeeded
# w[x]: succeeded
# w[y]: succeeded
# log w[y]: y 2
pipeline "for_each_result_map" {
  workspace {
    exclude = ["**"]
  }
  module "gen" {
    script = <<-S
      echo '{"m": {"x": 1, "y": 2}}' > $PIPELINED_OUTPUT
    S
  }
  module "w" {
    for_each = module.gen.result.m
    command  = ["echo", each.key, tostring(each.value)]
  }
}
