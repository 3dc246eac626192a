# run: succeeded
# rules: 3 s23
# b[1]: succeeded
# b[2]: succeeded
# log b[2]: n=2
pipeline "matrix_env" {
  workspace {
    exclude = ["**"]
  }
  module "b" {
    matrix = { n = [1, 2] }
    env    = { N = matrix.n }
    script = "echo n=$N"
  }
}
