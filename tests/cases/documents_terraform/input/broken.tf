resource "aws_appmesh_mesh" "broken" {
  name = "broken
}
