variable "mesh" {}
variable "name" {}
variable "router" {}

resource "aws_appmesh_virtual_service" "this" {
  name      = var.name
  mesh_name = var.mesh
  spec {
    provider {
      virtual_router {
        virtual_router_name = var.router
      }
    }
  }
}

output "name" {
  value = aws_appmesh_virtual_service.this.name
}
