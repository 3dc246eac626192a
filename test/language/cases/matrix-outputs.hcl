# run: succeeded
# rules: 3 s23
# b[1]: succeeded
# b[2]: succeeded
# c: succeeded
# log c: 1
# log c: 2
pipeline "matrix_outputs" {
  workspace {
    exclude = ["**"]
  }
  module "b" {
    matrix  = { n = [1, 2] }
    script  = "echo ${matrix.n} > out-${matrix.n}"
    outputs = ["out-${matrix.n}"]
  }
  module "c" {
    depends_on = [module.b]
    command    = ["cat", "out-1", "out-2"]
  }
}
