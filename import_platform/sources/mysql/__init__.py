from import_platform.sources.mysql.connector import MysqlSource

__all__ = ["MysqlSource"]
