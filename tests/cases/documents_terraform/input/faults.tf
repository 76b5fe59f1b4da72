# What cannot be worked out is told, each with its line, its words and what to do.
resource "aws_appmesh_virtual_node" "callers" {
  name      = "callers"
  mesh_name = aws_appmesh_mesh.shop.name
  spec {
    listener {
      port_mapping {
        port    = 8080
        protocl = "http"
      }
      port_mapping {
        port     = 8081
        protocol = "http"
      }
    }
    backend {
      virtual_service {
        virtual_service_name = module.services["quotes"].name
      }
    }
    backends {}
  }
}

resource "aws_appmesh_virtual_service" "unknown" {
  name      = "x.${var.asked_for}"
  mesh_name = aws_appmesh_mesh.shap.name
  spec {
    provider {
      virtual_node {
        virtual_node_name = data.aws_ssm_parameter.node.value
      }
    }
  }
}

resource "aws_appmesh_virtual_service" "computed" {
  name      = aws_appmesh_virtual_node.callers.id
  mesh_name = filesha1("mesh.txt")
  spec {
    provider {
      virtual_node {
        virtual_node_name = local.first
      }
    }
  }
}

locals {
  first  = local.second
  second = local.first
}

resource "aws_appmesh_virtual_servce" "typo" {}
