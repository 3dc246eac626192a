# run: succeeded
# rules: 2 s23 child
# kill
# list: succeeded
# matrix[a]: succeeded
# matrix[b]: succeeded
# each[x]: succeeded
# each[y]: succeeded
# after: succeeded
# log after: a b 1 2
pipeline "child-instances" {
  module "list" {
    script = "echo '{\"all\": {\"x\": 1, \"y\": 2}}' >$PIPELINED_OUTPUT"
  }
  module "matrix" {
    matrix    = { letter = ["a", "b"] }
    pipeline  = "lib/inner.hcl"
    variables = { word = matrix.letter }
  }
  module "each" {
    for_each     = module.list.result.all
    max_parallel = 1
    pipeline     = "lib/inner.hcl"
    variables    = { word = each.value }
  }
  module "after" {
    command = ["echo", module.matrix["a"].result.say.word, module.matrix["b"].result.say.word, module.each["x"].result.say.word, module.each["y"].result.say.word]
  }
}
